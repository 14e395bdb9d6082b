package main

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
)

// KeyedDevice is a device of a user with an identity key, as end-to-end encryption needs it.
type KeyedDevice struct {
	*User
	identity ed25519.PrivateKey
}

// object is JSON whose keys Go writes in order, as canonical JSON wants them.
type object = map[string]any

// NewKeyedDevice draws the identity key.
func NewKeyedDevice(user *User) (*KeyedDevice, error) {
	_, identity, err := ed25519.GenerateKey(rand.Reader)
	return &KeyedDevice{user, identity}, err
}

// Keys are the signed device keys.
func (d *KeyedDevice) Keys() (object, error) {
	return d.signed(object{
		"user_id":    d.ID,
		"device_id":  accountDevice,
		"algorithms": []string{"m.olm.v1.curve25519-aes-sha2", "m.megolm.v1.aes-sha2"},
		"keys": object{
			"curve25519:" + accountDevice: randomKey(),
			"ed25519:" + accountDevice:    publicKey(d.identity),
		},
	})
}

// OneTimeKeys are new signed one-time keys.
func (d *KeyedDevice) OneTimeKeys(count int) (object, error) {
	keys := object{}
	for range count {
		key, err := d.signed(object{"key": randomKey()})
		if err != nil {
			return nil, err
		}
		keys["signed_curve25519:"+randomKey()[:10]] = key
	}
	return keys, nil
}

// CrossSigningKeys are a master key and the two keys that it signs.
func (d *KeyedDevice) CrossSigningKeys() (object, error) {
	_, master, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	keys := object{}
	for _, usage := range []string{"master", "self_signing", "user_signing"} {
		public := publicKey(master)
		if usage != "master" {
			public = randomKey()
		}
		key := object{"user_id": d.ID, "usage": []string{usage}, "keys": object{"ed25519:" + public: public}}
		if usage != "master" {
			if key, err = sign(key, d.ID, publicKey(master), master); err != nil {
				return nil, err
			}
		}
		keys[usage+"_key"] = key
	}
	return keys, nil
}

func (d *KeyedDevice) signed(value object) (object, error) {
	return sign(value, d.ID, accountDevice, d.identity)
}

// sign adds a signature. The values here hold nothing that Go would write in another way than canonical JSON.
func sign(value object, userID, keyID string, key ed25519.PrivateKey) (object, error) {
	message, err := json.Marshal(value)
	if err != nil {
		return nil, err
	}
	signature := base64.RawStdEncoding.EncodeToString(ed25519.Sign(key, message))
	value["signatures"] = object{userID: object{"ed25519:" + keyID: signature}}
	return value, nil
}

func publicKey(key ed25519.PrivateKey) string {
	return base64.RawStdEncoding.EncodeToString(key[ed25519.SeedSize:])
}

// randomKey is 32 random bytes, which stand for a public key that nobody uses.
func randomKey() string {
	var key [32]byte
	rand.Read(key[:]) // cannot fail
	return base64.RawStdEncoding.EncodeToString(key[:])
}
