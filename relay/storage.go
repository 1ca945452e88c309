package relay

// Storage is how the disk and the store on it are at this moment.
type Storage struct {
	FreeBytes    int64  `json:"free_bytes"`
	ReserveBytes int64  `json:"reserve_bytes"` // below it nothing new is accepted
	Low          bool   `json:"low"`
	Writable     bool   `json:"writable"`         // false: the store does not write
	Reason       string `json:"reason,omitempty"` // why not
	Restarts     uint64 `json:"restarts"`         // of the store within this process, after a failed write
	Waiting      int    `json:"waiting"`          // requests that wait for the disk
	WaitingMost  int    `json:"waiting_most"`
	Durability   string `json:"durability"`
}
