// Package deliveries keeps what a drain has delivered, in files of the drain's
// own state directory: 16 bytes a delivery, appended by one write(2) after the
// destination's answer and before the event is recorded.
//
// It survives the end of the process, however it came: what was written is the
// kernel's. It is synced once a second, so that a power cut of the drain's
// machine takes the deliveries of about the last second with it. It is of one
// state directory; another drain that takes over does not see it.
//
// Every message is looked up before it is sent. In memory there is a Bloom filter
// of 24 bits a delivery (a million deliveries are 3 MB, and 16 MB on the disk);
// what a filter knows is looked for in its file, so that a filter's mistake costs
// reading 16 MiB at most, and never a message. At most 33 million deliveries are
// kept, 100 MB in memory: beyond that the oldest are forgotten before the window
// has passed.
package deliveries
