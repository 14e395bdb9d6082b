package main

import (
	"crypto/ed25519"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func startPeer(t *testing.T) (*Peer, http.Client) {
	t.Helper()
	folder := t.TempDir()
	peer, err := StartPeer(folder)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(peer.Stop)
	authority, err := os.ReadFile(filepath.Join(folder, authorityFile))
	if err != nil {
		t.Fatal(err)
	}
	trusted := x509.NewCertPool()
	trusted.AppendCertsFromPEM(authority)
	return peer, http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: trusted}}}
}

// verify checks the peer's signature of what is left of an object without its signatures.
func verify(t *testing.T, peer *Peer, object object, text []byte) {
	t.Helper()
	signatures, _ := object["signatures"].(map[string]any)
	own, _ := signatures[peer.Name].(map[string]any)
	signature, err := base64.RawStdEncoding.DecodeString(own["ed25519:"+signingKeyID].(string))
	if err != nil || !ed25519.Verify(peer.key.Public().(ed25519.PublicKey), text, signature) {
		t.Errorf("%v is not signed", object["type"])
	}
}

func TestKeysAreServedByTLSAndSigned(t *testing.T) {
	peer, client := startPeer(t)
	answer, err := client.Get("https://" + peer.Name + "/_matrix/key/v2/server")
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	text, _ := io.ReadAll(answer.Body)
	var keys object
	if err := json.Unmarshal(text, &keys); err != nil {
		t.Fatal(err)
	}
	signed := object{}
	for key, value := range keys {
		if key != "signatures" {
			signed[key] = value
		}
	}
	text, _ = canonical(signed)
	verify(t, peer, keys, text)
}

func TestAHostedRoomHasAsManyMembersAndStateEventsAsAskedFor(t *testing.T) {
	peer, _ := startPeer(t)
	roomID, err := peer.Host(5, 20)
	if err != nil {
		t.Fatal(err)
	}
	room := peer.hosted[roomID]
	members, ids := 0, map[string]bool{}
	for _, text := range room.state {
		var event object
		if err := json.Unmarshal(text, &event); err != nil {
			t.Fatal(err)
		}
		redacted, err := redactedText(event)
		if err != nil {
			t.Fatal(err)
		}
		verify(t, peer, event, redacted)
		ids[idOf(redacted)] = true
		if event["type"] == "m.room.member" {
			members++
		}
	}
	if members != 5 || len(ids) != 20 || !ids[room.last] {
		t.Errorf("%d members, %d events", members, len(ids))
	}
}

func TestRedactionKeepsWhatAuthorises(t *testing.T) {
	text, err := redactedText(object{
		"type": "m.room.power_levels", "content": object{"ban": 50, "notifications": object{}}, "unsigned": object{},
	})
	if err != nil || string(text) != `{"content":{"ban":50},"type":"m.room.power_levels"}` {
		t.Errorf("%s, %v", text, err)
	}
	text, err = redactedText(object{"type": "m.room.message", "content": object{"body": "<&>"}})
	if err != nil || strings.Contains(string(text), "body") {
		t.Errorf("%s, %v", text, err)
	}
	if text, _ := canonical(object{"b": "<&>", "a": 1}); string(text) != `{"a":1,"b":"<&>"}` {
		t.Errorf("%s", text)
	}
}
