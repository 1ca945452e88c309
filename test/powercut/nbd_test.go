package main

import (
	"encoding/binary"
	"io"
	"net"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// nbdClient speaks as qemu does.
type nbdClient struct {
	t    *testing.T
	conn net.Conn
	ends chan error
}

func dialNBD(t *testing.T, d *Disk) *nbdClient {
	t.Helper()
	l, err := net.Listen("unix", filepath.Join(t.TempDir(), "s"))
	require.NoError(t, err)
	defer func() { _ = l.Close() }() // one connection is all
	c := &nbdClient{t: t, ends: make(chan error, 1)}
	c.conn, err = net.Dial("unix", l.Addr().String())
	require.NoError(t, err)
	t.Cleanup(func() { _ = c.conn.Close() })
	require.NoError(t, c.conn.SetDeadline(time.Now().Add(20*time.Second)))
	far, err := l.Accept()
	require.NoError(t, err)
	go func() {
		defer func() { _ = far.Close() }() // served
		c.ends <- ServeNBD(far, d)
	}()
	return c
}

func (c *nbdClient) say(values ...any) {
	c.t.Helper()
	for _, v := range values {
		require.NoError(c.t, binary.Write(c.conn, binary.BigEndian, v))
	}
}

func hear[T any](c *nbdClient) T {
	c.t.Helper()
	var v T
	require.NoError(c.t, binary.Read(c.conn, binary.BigEndian, &v))
	return v
}

type optionAnswer struct {
	Magic                uint64
	Option, Kind, Length uint32
}

// agree begins the transmission, after an option that nobody knows.
func (c *nbdClient) agree(size int64) {
	c.t.Helper()
	require.EqualValues(c.t, magicHello, hear[uint64](c))
	require.EqualValues(c.t, magicOption, hear[uint64](c))
	require.EqualValues(c.t, flagFixedNewstyle|flagNoZeroes, hear[uint16](c))
	c.say(uint32(flagFixedNewstyle | flagNoZeroes))
	c.say(uint64(magicOption), uint32(8), uint32(0)) // structured replies
	require.Equal(c.t, optionAnswer{magicAnswer, 8, answerUnsupported, 0}, hear[optionAnswer](c))
	c.say(uint64(magicOption), uint32(optionGo), uint32(6), uint32(0), uint16(0))
	require.Equal(c.t, optionAnswer{magicAnswer, optionGo, answerInfo, 12}, hear[optionAnswer](c))
	require.EqualValues(c.t, infoExport, hear[uint16](c))
	require.EqualValues(c.t, size, hear[uint64](c))
	require.EqualValues(c.t, diskHasFlags|diskFlushes|diskFUA, hear[uint16](c))
	require.Equal(c.t, optionAnswer{magicAnswer, optionGo, answerAck, 0}, hear[optionAnswer](c))
}

// ask makes a request and returns the error of its answer.
func (c *nbdClient) ask(flags, kind uint16, offset int64, length int, data []byte) uint32 {
	c.t.Helper()
	c.say(request{magicRequest, flags, kind, 77, uint64(offset), uint32(length)}, data)
	require.EqualValues(c.t, magicReply, hear[uint32](c))
	code := hear[uint32](c)
	require.EqualValues(c.t, 77, hear[uint64](c))
	return code
}

func TestNBDServesADiskToTheCut(t *testing.T) {
	d, _ := newDisk(t)
	c := dialNBD(t, d)
	c.agree(d.Size())
	require.Zero(t, c.ask(0, commandWrite, 0, sectorSize, sectors('a', 1)))
	require.Zero(t, c.ask(0, commandFlush, 0, 0, nil))
	require.Zero(t, c.ask(0, commandWrite, 0, 2*sectorSize, sectors('b', 2)))
	require.Zero(t, c.ask(commandFUA, commandWrite, 2*sectorSize, sectorSize, sectors('c', 1)))
	require.Zero(t, c.ask(0, commandRead, 0, 3*sectorSize, nil))
	read := make([]byte, 3*sectorSize)
	_, err := io.ReadFull(c.conn, read)
	require.NoError(t, err)
	require.Equal(t, "bbc", shorten(t, read))

	require.EqualValues(t, errorInvalid, c.ask(0, commandWrite, d.Size(), sectorSize, sectors('d', 1)), "beyond the end")
	require.EqualValues(t, errorInvalid, c.ask(0, 4, 0, sectorSize, nil), "TRIM was not offered")

	require.NoError(t, c.conn.Close()) // as a machine without power does
	require.NoError(t, <-c.ends)
	unflushed, _, err := d.Cut(chance(1), 0)
	require.NoError(t, err)
	require.Equal(t, 2, unflushed)
	require.Equal(t, "a.c.", letters(t, d)[:4])
}

func TestNBDEndsWithItsClient(t *testing.T) {
	d, _ := newDisk(t)
	c := dialNBD(t, d)
	c.agree(d.Size())
	c.say(request{magicRequest, 0, commandDisconnect, 1, 0, 0})
	require.NoError(t, <-c.ends)
}

// Without power there is no answer, and no end before the client's.
func TestNBDIsSilentWithoutPower(t *testing.T) {
	d, _ := newDisk(t)
	c := dialNBD(t, d)
	c.agree(d.Size())
	require.Zero(t, c.ask(0, commandWrite, 0, sectorSize, sectors('a', 1)))
	d.SwitchOff()
	c.say(request{magicRequest, 0, commandFlush, 1, 0, 0})
	require.NoError(t, c.conn.(*net.UnixConn).CloseWrite())
	require.NoError(t, <-c.ends)
	rest, err := io.ReadAll(c.conn)
	require.NoError(t, err)
	require.Empty(t, rest)
	unflushed, _, err := d.Cut(chance(1), 0)
	require.NoError(t, err)
	require.Equal(t, 1, unflushed)
}

func TestNBDRefusesWhatItDoesNotSpeak(t *testing.T) {
	d, _ := newDisk(t)
	c := dialNBD(t, d)
	c.agree(d.Size())
	c.say(request{magicRequest + 1, 0, commandRead, 1, 0, 0})
	require.ErrorIs(t, <-c.ends, errNBD)

	c = dialNBD(t, d)
	c.agree(d.Size())
	c.say(request{magicRequest, 0, commandRead, 1, 0, maxTransfer + 1})
	require.ErrorIs(t, <-c.ends, errNBD)
}
