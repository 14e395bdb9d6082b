package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"sync/atomic"
)

const (
	clientAPI = "/_matrix/client/v3"
	password  = "correct horse battery staple"
	// lazyFilter is what clients send: members only of those who speak.
	lazyFilter = `{"room":{"state":{"lazy_load_members":true}}}`
)

// serial numbers user names and transactions, unique within the run.
var serial atomic.Int64

// User is a logged-in device with a connection of its own, used by one goroutine at a time.
type User struct {
	Connection
	Name  string
	ID    string
	Token string
	Since string
}

type session struct {
	UserID      string `json:"user_id"`
	AccessToken string `json:"access_token"`
}

// Register makes a new account, passing the dummy stage of user-interactive authentication.
func Register(address string) (*User, error) {
	user := &User{Connection: Connection{address: address}, Name: "u" + strconv.FormatInt(serial.Add(1), 10)}
	dummy := map[string]string{"type": "m.login.dummy"}
	body := map[string]any{"username": user.Name, "password": password, "auth": dummy}
	var made session
	err := user.JSON("POST", clientAPI+"/register", "", body, &made)
	var refused *RefusedError
	if errors.As(err, &refused) && refused.Status == 401 {
		var challenge struct{ Session string }
		if err := json.Unmarshal(refused.Body, &challenge); err != nil {
			return nil, err
		}
		dummy["session"] = challenge.Session
		err = user.JSON("POST", clientAPI+"/register", "", body, &made)
	}
	user.ID, user.Token = made.UserID, made.AccessToken
	return user, err
}

// Login opens another device of the same account.
func (u *User) Login() (*User, error) {
	device := &User{Connection: Connection{address: u.address}, Name: u.Name}
	var made session
	err := device.JSON("POST", clientAPI+"/login", "", map[string]any{
		"type":       "m.login.password",
		"identifier": map[string]string{"type": "m.id.user", "user": u.Name},
		"password":   password,
	}, &made)
	device.ID, device.Token = made.UserID, made.AccessToken
	return device, err
}

// CreateRoom makes a public room, the same version on every server.
func (u *User) CreateRoom() (string, error) { return u.CreateRoomOf("12") }

// CreateRoomOf makes a public room of a version.
func (u *User) CreateRoomOf(version string) (string, error) {
	var made struct {
		RoomID string `json:"room_id"`
	}
	err := u.JSON("POST", clientAPI+"/createRoom", u.Token, map[string]any{
		"preset": "public_chat", "name": "a room", "topic": "a topic", "room_version": version,
	}, &made)
	return made.RoomID, err
}

// Join enters a public room.
func (u *User) Join(roomID string) error {
	return u.JSON("POST", clientAPI+"/join/"+url.PathEscape(roomID), u.Token, map[string]any{}, nil)
}

// Leave leaves a room.
func (u *User) Leave(roomID string) error {
	return u.JSON("POST", clientAPI+"/rooms/"+url.PathEscape(roomID)+"/leave", u.Token, map[string]any{}, nil)
}

// Send sends a text message of about 100 bytes and returns its event id.
func (u *User) Send(roomID string) (string, error) {
	path := fmt.Sprintf("%s/rooms/%s/send/m.room.message/%d", clientAPI, url.PathEscape(roomID), serial.Add(1))
	answer, err := u.Do("PUT", path, u.Token, []byte(`{"msgtype":"m.text","body":"`+messageText+`"}`))
	if err != nil {
		return "", err
	}
	return stringField(answer, "event_id")
}

const messageText = "A message of an ordinary length, such as people send to each other in the middle of a working day."

// Sync asks for what is new since the last answer, waiting up to the timeout; it remembers the new position.
func (u *User) Sync(timeoutMilliseconds int) ([]byte, error) {
	path := clientAPI + "/sync?timeout=" + strconv.Itoa(timeoutMilliseconds) + "&filter=" + url.QueryEscape(lazyFilter)
	if u.Since != "" {
		path += "&since=" + url.QueryEscape(u.Since)
	}
	answer, err := u.Do("GET", path, u.Token, nil)
	if err != nil {
		return nil, err
	}
	u.Since, err = stringField(answer, "next_batch")
	return answer, err
}

// stringField finds a top-level string by its name without decoding the rest: the generator has to stay cheap. It is
// used for names that occur once and values that need no unescaping.
func stringField(object []byte, name string) (string, error) {
	_, after, found := bytes.Cut(object, []byte(`"`+name+`"`))
	after = bytes.TrimLeft(after, ": ")
	if found && len(after) > 0 && after[0] == '"' {
		if value, _, closed := bytes.Cut(after[1:], []byte(`"`)); closed {
			return string(value), nil
		}
	}
	return "", fmt.Errorf("no %q in %.200s", name, object)
}
