// Package deliveries keeps what a drain has delivered, in files of the drain's
// own state directory: 16 bytes a delivery, appended by one write(2) after the
// destination's answer and before the event is recorded.
//
// It survives the end of the process, however it came: what was written is the
// kernel's. It is synced once a second, so that a power cut of the drain's
// machine takes the deliveries of about the last second with it. It is of one
// state directory; another drain that takes over does not see it.
//
// Every delivery is looked up before it is made. In memory there is a Bloom
// filter of 20 bits a delivery (a million deliveries are 2.5 MB, and 16 MB on the
// disk); what the filter knows is looked for in the file, so that a filter's
// mistake costs a read of 4 MiB and never a message. At most 128 files are kept,
// 33 million deliveries, 84 MB in memory: beyond that the oldest are forgotten
// before the window has passed.
package deliveries
