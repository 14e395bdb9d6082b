package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"time"
)

// answerWithin bounds every request; the longest is a long poll of 30 s.
const answerWithin = 3 * time.Minute

// Connection is one kept-alive HTTP/1.1 connection that carries one request at a time.
// It writes requests by hand and runs no goroutines, so that the generator leaves the cores to the server.
type Connection struct {
	address string
	socket  net.Conn
	reader  *bufio.Reader
	buffer  []byte
}

// RefusedError is an answer with a status of 400 or more.
type RefusedError struct {
	Status int
	Body   []byte
	What   string
}

func (e *RefusedError) Error() string {
	return fmt.Sprintf("%s: status %d: %.300s", e.What, e.Status, e.Body)
}

// Do sends one request, whose body is JSON if there is any, and returns the body of the answer.
func (c *Connection) Do(method, path, token string, body []byte) ([]byte, error) {
	return c.do(method, path, token, "application/json", body)
}

// Upload posts a file.
func (c *Connection) Upload(path, token string, file []byte) ([]byte, error) {
	return c.do("POST", path, token, "application/octet-stream", file)
}

// do dials again when the server closed the connection while it lay idle.
func (c *Connection) do(method, path, token, contentType string, body []byte) ([]byte, error) {
	for {
		fresh := c.socket == nil
		answer, err := c.exchange(method, path, token, contentType, body)
		var refused *RefusedError
		if err == nil || errors.As(err, &refused) {
			return answer, err
		}
		c.Close()
		if fresh {
			return nil, fmt.Errorf("%s %s: %w", method, path, err)
		}
	}
}

// JSON sends a value as JSON and decodes the answer.
func (c *Connection) JSON(method, path, token string, body, answer any) error {
	var encoded []byte
	if body != nil {
		var err error
		if encoded, err = json.Marshal(body); err != nil {
			return err
		}
	}
	raw, err := c.Do(method, path, token, encoded)
	if err != nil || answer == nil {
		return err
	}
	return json.Unmarshal(raw, answer)
}

// Close drops the connection; the next request dials again.
func (c *Connection) Close() {
	if c.socket != nil {
		c.socket.Close()
		c.socket = nil
	}
}

// MoveTo sends the next requests to another process of the server.
func (c *Connection) MoveTo(address string) {
	c.Close()
	c.address = address
}

func (c *Connection) exchange(method, path, token, contentType string, body []byte) ([]byte, error) {
	if c.socket == nil {
		socket, err := net.Dial("tcp", c.address)
		if err != nil {
			return nil, err
		}
		c.socket, c.reader = socket, bufio.NewReader(socket)
	}
	if err := c.socket.SetDeadline(time.Now().Add(answerWithin)); err != nil {
		return nil, err
	}
	if _, err := c.socket.Write(c.encode(method, path, token, contentType, body)); err != nil {
		return nil, err
	}
	answer, err := http.ReadResponse(c.reader, nil)
	if err != nil {
		return nil, err
	}
	read, err := io.ReadAll(answer.Body)
	if err != nil {
		return nil, err
	}
	if answer.Close {
		c.Close()
	}
	if answer.StatusCode >= 400 {
		return nil, &RefusedError{answer.StatusCode, read, method + " " + path}
	}
	return read, nil
}

func (c *Connection) encode(method, path, token, contentType string, body []byte) []byte {
	b := append(c.buffer[:0], method...)
	b = append(b, ' ')
	b = append(b, path...)
	b = append(b, " HTTP/1.1\r\nHost: "...)
	b = append(b, c.address...)
	if token != "" {
		b = append(b, "\r\nAuthorization: Bearer "...)
		b = append(b, token...)
	}
	if body != nil {
		b = append(b, "\r\nContent-Type: "...)
		b = append(b, contentType...)
		b = append(b, "\r\nContent-Length: "...)
		b = strconv.AppendInt(b, int64(len(body)), 10)
	}
	b = append(b, "\r\n\r\n"...)
	c.buffer = append(b, body...)
	return c.buffer
}
