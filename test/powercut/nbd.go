package main

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
)

// The part of the NBD protocol (fixed newstyle, simple replies) that qemu needs
// for one disk: https://github.com/NetworkBlockDevice/nbd/blob/master/doc/proto.md
const (
	magicHello   = 0x4e42444d41474943 // NBDMAGIC
	magicOption  = 0x49484156454f5054 // IHAVEOPT
	magicAnswer  = 0x0003e889045565a9
	magicRequest = 0x25609513
	magicReply   = 0x67446698

	flagFixedNewstyle = 1 << 0
	flagNoZeroes      = 1 << 1

	optionAbort = 2
	optionInfo  = 6
	optionGo    = 7

	answerAck         = 1
	answerInfo        = 3
	answerUnsupported = 1<<31 | 1
	infoExport        = 0

	diskHasFlags = 1 << 0
	diskFlushes  = 1 << 2
	diskFUA      = 1 << 3

	commandRead       = 0
	commandWrite      = 1
	commandDisconnect = 2
	commandFlush      = 3
	commandFUA        = 1 << 0

	errorIO      = 5
	errorInvalid = 22

	maxOption   = 64 << 10 // bytes, of what a client says about an option
	maxTransfer = 32 << 20 // bytes, of one read or write
)

var (
	errNBD        = errors.New("not the NBD that qemu speaks")
	errDisconnect = errors.New("the client has disconnected")
)

// ServeNBD serves the disk to one client until it goes. Requests are answered one
// after the other, so a flush covers all that was answered before. A disk without
// power answers nothing more. That the connection breaks off is no error: that is
// what a power cut looks like.
func ServeNBD(conn net.Conn, d *Disk) error {
	s := &session{r: bufio.NewReaderSize(conn, 1<<20), w: bufio.NewWriterSize(conn, 1<<20), disk: d}
	err := s.agree()
	for err == nil {
		if err = s.serve(); err == nil && s.r.Buffered() == 0 {
			err = s.w.Flush()
		}
	}
	if errors.Is(err, errNoPower) {
		_, err = io.Copy(io.Discard, s.r) // silence, to the client's end
	}
	var broken *net.OpError
	if errors.Is(err, errDisconnect) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.As(err, &broken) {
		return nil
	}
	return err
}

type session struct {
	r    *bufio.Reader
	w    *bufio.Writer
	disk *Disk
}

// say writes numbers and bytes in network order; an error stays in the buffer
// and comes out of its Flush.
func (s *session) say(values ...any) {
	for _, v := range values {
		_ = binary.Write(s.w, binary.BigEndian, v)
	}
}

func (s *session) hear(v any) error { return binary.Read(s.r, binary.BigEndian, v) }

// agree is the handshake up to the option that begins the transmission.
func (s *session) agree() error {
	s.say(uint64(magicHello), uint64(magicOption), uint16(flagFixedNewstyle|flagNoZeroes))
	if err := s.w.Flush(); err != nil {
		return err
	}
	var flags uint32
	if err := s.hear(&flags); err != nil {
		return err
	}
	if flags&flagFixedNewstyle == 0 {
		return fmt.Errorf("%w: its flags are %#x", errNBD, flags)
	}
	for {
		begin, err := s.option()
		if err == nil {
			err = s.w.Flush()
		}
		if err != nil || begin {
			return err
		}
	}
}

// option answers one option; begin says that requests come next.
func (s *session) option() (begin bool, err error) {
	var asked struct {
		Magic          uint64
		Option, Length uint32
	}
	if err := s.hear(&asked); err != nil {
		return false, err
	}
	if asked.Magic != magicOption || asked.Length > maxOption {
		return false, fmt.Errorf("%w: option %d of %d bytes", errNBD, asked.Option, asked.Length)
	}
	if _, err := s.r.Discard(int(asked.Length)); err != nil { // one disk, whatever its name
		return false, err
	}
	switch asked.Option {
	case optionGo, optionInfo:
		s.say(uint64(magicAnswer), asked.Option, uint32(answerInfo), uint32(12),
			uint16(infoExport), uint64(s.disk.Size()), uint16(diskHasFlags|diskFlushes|diskFUA))
		s.say(uint64(magicAnswer), asked.Option, uint32(answerAck), uint32(0))
		return asked.Option == optionGo, nil
	case optionAbort:
		s.say(uint64(magicAnswer), asked.Option, uint32(answerAck), uint32(0))
		return false, errors.Join(s.w.Flush(), errDisconnect)
	}
	s.say(uint64(magicAnswer), asked.Option, uint32(answerUnsupported), uint32(0))
	return false, nil
}

type request struct {
	Magic       uint32
	Flags, Type uint16
	Cookie      uint64
	Offset      uint64
	Length      uint32
}

// serve answers one request.
func (s *session) serve() error {
	var q request
	if err := s.hear(&q); err != nil {
		return err
	}
	if q.Magic != magicRequest || q.Length > maxTransfer {
		return fmt.Errorf("%w: request %d of %d bytes", errNBD, q.Type, q.Length)
	}
	data := make([]byte, 0)
	var err error
	switch q.Type {
	case commandRead:
		data = make([]byte, q.Length)
		err = s.disk.Read(data, int64(q.Offset))
	case commandWrite:
		written := make([]byte, q.Length)
		if _, err := io.ReadFull(s.r, written); err != nil {
			return err
		}
		err = s.disk.Write(written, int64(q.Offset), q.Flags&commandFUA != 0)
	case commandFlush:
		err = s.disk.Flush()
	case commandDisconnect:
		return errDisconnect
	default:
		err = errUnaligned
	}
	if errors.Is(err, errNoPower) {
		return err
	}
	s.reply(q, data, err)
	return nil
}

func (s *session) reply(q request, data []byte, err error) {
	code := uint32(0)
	switch {
	case errors.Is(err, errUnaligned):
		code, data = errorInvalid, nil
	case err != nil:
		code, data = errorIO, nil
	}
	s.say(uint32(magicReply), code, q.Cookie, data)
}
