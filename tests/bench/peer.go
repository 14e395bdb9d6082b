package main

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"sync"
	"time"
)

// authorityFile is the certificate, in a target's directory, that the target trusts when it connects to its peer.
const authorityFile = "authority.crt"

// signingKeyID names the peer's signing key.
const signingKeyID = "bench"

// Peer is another server, as far as one that is measured asks it for anything. Its events, keys and signatures are real;
// it keeps no state of rooms but of those that it has made.
type Peer struct {
	Name     string // its address: an IP literal with a port, which needs no discovery
	key      ed25519.PrivateKey
	client   http.Client
	listener net.Listener
	mutex    sync.Mutex
	hosted   map[string]*hostedRoom // by room id
	received map[string][]string    // the bodies of messages in their order of arrival, by room id
	arrived  *sync.Cond
}

// StartPeer serves on a free port, and leaves the certificate to trust in the directory.
func StartPeer(directory string) (*Peer, error) {
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	certificate, err := newCertificate(filepath.Join(directory, authorityFile))
	if err != nil {
		listener.Close()
		return nil, err
	}
	peer := &Peer{
		Name: listener.Addr().String(), key: key, listener: listener,
		hosted: map[string]*hostedRoom{}, received: map[string][]string{},
	}
	peer.arrived = sync.NewCond(&peer.mutex)
	server := http.Server{Handler: peer.routes(), TLSConfig: &tls.Config{
		Certificates: []tls.Certificate{certificate}, NextProtos: []string{"h2", "http/1.1"},
	}}
	go server.ServeTLS(listener, "", "")
	return peer, nil
}

// Stop ends the peer.
func (p *Peer) Stop() { p.listener.Close() }

// User is a user id of the peer.
func (p *Peer) User(name string) string { return "@" + name + ":" + p.Name }

func (p *Peer) routes() http.Handler {
	routes := http.NewServeMux()
	routes.HandleFunc("GET /_matrix/key/v2/server", p.serveKeys)
	routes.HandleFunc("PUT /_matrix/federation/v1/send/{transaction}", p.receive)
	routes.HandleFunc("GET /_matrix/federation/v1/make_join/{room}/{user}", p.makeJoin)
	routes.HandleFunc("PUT /_matrix/federation/v2/send_join/{room}/{event}", p.sendJoin)
	routes.HandleFunc("GET /_matrix/federation/v1/user/devices/{user}", func(w http.ResponseWriter, r *http.Request) {
		respond(w, object{"user_id": r.PathValue("user"), "stream_id": 1, "devices": []any{}})
	})
	routes.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusNotFound)
		respond(w, object{"errcode": "M_UNRECOGNIZED", "error": "the bench does not serve this"})
	})
	return routes
}

func (p *Peer) serveKeys(w http.ResponseWriter, _ *http.Request) {
	keys, err := sign(object{
		"server_name":     p.Name,
		"valid_until_ts":  time.Now().Add(24 * time.Hour).UnixMilli(),
		"old_verify_keys": object{},
		"verify_keys":     object{"ed25519:" + signingKeyID: object{"key": publicKey(p.key)}},
	}, p.Name, signingKeyID, p.key)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	respond(w, keys)
}

// receive takes the messages of a transaction.
func (p *Peer) receive(w http.ResponseWriter, r *http.Request) {
	var transaction struct {
		PDUs []struct {
			RoomID  string `json:"room_id"`
			Type    string `json:"type"`
			Content struct{ Body string }
		}
	}
	if err := json.NewDecoder(r.Body).Decode(&transaction); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	p.mutex.Lock()
	for _, pdu := range transaction.PDUs {
		if pdu.Type == "m.room.message" {
			p.received[pdu.RoomID] = append(p.received[pdu.RoomID], pdu.Content.Body)
		}
	}
	p.mutex.Unlock()
	p.arrived.Broadcast()
	respond(w, object{"pdus": object{}})
}

// WaitForMessages returns the bodies of the messages in a room once there are so many, or what there is when time is over.
func (p *Peer) WaitForMessages(roomID string, count int, limit time.Duration) []string {
	end := time.Now().Add(limit)
	wake := time.AfterFunc(limit, p.arrived.Broadcast)
	defer wake.Stop()
	p.mutex.Lock()
	defer p.mutex.Unlock()
	for len(p.received[roomID]) < count && time.Now().Before(end) {
		p.arrived.Wait()
	}
	return p.received[roomID]
}

// Request sends a signed request to a server that is measured, and decodes the answer.
func (p *Peer) Request(target *Target, method, path string, body, answer any) error {
	toSign := object{"method": method, "uri": path, "origin": p.Name, "destination": serverName}
	var encoded []byte
	if body != nil {
		var err error
		if encoded, err = canonical(body); err != nil {
			return err
		}
		toSign["content"] = json.RawMessage(encoded)
	}
	signed, err := canonical(toSign)
	if err != nil {
		return err
	}
	request, err := http.NewRequest(method, "http://"+target.Address+path, bytes.NewReader(encoded))
	if err != nil {
		return err
	}
	request.Header.Set("Authorization", fmt.Sprintf(`X-Matrix origin="%s",destination="%s",key="ed25519:%s",sig="%s"`,
		p.Name, serverName, signingKeyID, p.signature(signed)))
	request.Header.Set("Content-Type", "application/json")
	response, err := p.client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	read, err := io.ReadAll(response.Body)
	if err != nil {
		return err
	}
	if response.StatusCode >= 400 {
		return &RefusedError{response.StatusCode, read, method + " " + path}
	}
	return json.Unmarshal(read, answer)
}

// Deliver sends events in one transaction, all of which have to be taken.
func (p *Peer) Deliver(target *Target, events []json.RawMessage) error {
	path := fmt.Sprintf("/_matrix/federation/v1/send/%d", serial.Add(1))
	var answer struct {
		PDUs map[string]struct{ Error string }
	}
	body := object{"origin": p.Name, "origin_server_ts": time.Now().UnixMilli(), "pdus": events}
	if err := p.Request(target, "PUT", path, body, &answer); err != nil {
		return err
	}
	for id, result := range answer.PDUs {
		if result.Error != "" {
			return fmt.Errorf("%s refused %s: %s", target.Name, id, result.Error)
		}
	}
	if len(answer.PDUs) != len(events) {
		return errors.New("a transaction was not answered whole")
	}
	return nil
}

func respond(w http.ResponseWriter, value any) {
	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(w).Encode(value) // who does not read it any more has gone
}

// signature signs a text.
func (p *Peer) signature(text []byte) string {
	return base64.RawStdEncoding.EncodeToString(ed25519.Sign(p.key, text))
}
