package simulated

import (
	"net"
	"time"
)

// delayed is a connection on which everything takes delay longer, in each direction. It bounds neither the rate nor
// data on its way.
func delayed(raw net.Conn, delay time.Duration) net.Conn {
	if delay == 0 {
		return raw
	}
	near, far := net.Pipe()
	go forward(far, raw, delay)
	go forward(raw, far, delay)
	return near
}

// forward copies data from one end to the other, each piece after delay, until either end closes.
func forward(to, from net.Conn, delay time.Duration) {
	type piece struct {
		data []byte
		due  time.Time
	}
	pieces := make(chan piece, 64)
	go func() {
		defer close(pieces)
		buffer := make([]byte, 32<<10)
		for {
			n, err := from.Read(buffer)
			if n > 0 {
				pieces <- piece{append([]byte(nil), buffer[:n]...), time.Now().Add(delay)}
			}
			if err != nil {
				return
			}
		}
	}()
	for p := range pieces {
		time.Sleep(time.Until(p.due))
		if _, err := to.Write(p.data); err != nil {
			break
		}
	}
	_ = to.Close()
	_ = from.Close()
	for range pieces { // the reader may wait for room
		continue
	}
}
