package main

import (
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"strings"
	"testing"
)

func TestDeviceKeysCarryASignatureOfAllElse(t *testing.T) {
	device, err := NewKeyedDevice(&User{ID: "@a:localhost"})
	if err != nil {
		t.Fatal(err)
	}
	keys, err := device.Keys()
	if err != nil {
		t.Fatal(err)
	}
	text := keys["signatures"].(object)["@a:localhost"].(object)["ed25519:"+accountDevice].(string)
	signature, err := base64.RawStdEncoding.DecodeString(text)
	if err != nil {
		t.Fatal(err)
	}
	delete(keys, "signatures")
	message, _ := json.Marshal(keys)
	if !ed25519.Verify(device.identity.Public().(ed25519.PublicKey), message, signature) {
		t.Error("the signature does not fit")
	}
	if !strings.HasPrefix(string(message), `{"algorithms":`) {
		t.Errorf("not in canonical order: %s", message)
	}
}

func TestOneTimeKeysDiffer(t *testing.T) {
	device, _ := NewKeyedDevice(&User{ID: "@a:localhost"})
	keys, err := device.OneTimeKeys(50)
	if err != nil || len(keys) != 50 {
		t.Errorf("%d keys, %v", len(keys), err)
	}
}
