package main

import (
	"encoding/json"
	"fmt"
)

const (
	keyClients     = 8  // who ask at once
	keyDevices     = 40 // whom each of them asks about and writes to
	oneTimeKeys    = 50 // in one upload
	uploadsPerRun  = 200
	queriesPerRun  = 400
	claimsPerRun   = 200
	toDevicePerRun = 400
)

// keyGroup is a client and the devices that it asks about. Each client has its own: Synapse finds no keys where two
// clients claim at the same moment from the same devices.
type keyGroup struct {
	client                *User
	devices               []*KeyedDevice
	query, claim, message []byte
}

// upload is a request of a device that has no keys yet.
type upload struct {
	token string
	body  []byte
}

var keyHolders = &Part{"devices with keys", fillKeys}

var keyMeasures = []Measure{
	{Name: "keys upload", part: keyHolders, prepare: prepareUploads, run: runUploads},
	{Name: "keys query", part: keyHolders, run: runQueries},
	{Name: "keys claim", part: keyHolders, prepare: refillOneTimeKeys, run: runClaims},
	{Name: "to-device", part: keyHolders, run: runToDevice, finish: receiveToDevice},
}

func fillKeys(target *Target) error {
	world := target.world
	clients, err := makeAccounts(target, keyClients)
	if err != nil {
		return err
	}
	users, err := makeAccounts(target, keyClients*keyDevices)
	if err != nil {
		return err
	}
	for i, client := range clients {
		group := &keyGroup{client: client}
		for _, user := range users[i*keyDevices : (i+1)*keyDevices] {
			device, err := NewKeyedDevice(user)
			if err != nil {
				return err
			}
			group.devices = append(group.devices, device)
		}
		if err := group.write(); err != nil {
			return err
		}
		world.keyGroups = append(world.keyGroups, group)
	}
	return world.everyKeyedDevice((*KeyedDevice).publish)
}

// write makes the bodies of the requests.
func (g *keyGroup) write() (err error) {
	query, claim, message := object{}, object{}, object{}
	for _, device := range g.devices {
		query[device.ID] = []string{}
		claim[device.ID] = object{accountDevice: "signed_curve25519"}
		message[device.ID] = object{accountDevice: object{"body": messageText + messageText}}
	}
	for body, value := range map[*[]byte]object{
		&g.query: {"device_keys": query}, &g.claim: {"one_time_keys": claim}, &g.message: {"messages": message},
	} {
		if *body, err = json.Marshal(value); err != nil {
			return err
		}
	}
	return nil
}

// everyKeyedDevice does something for each device of all groups.
func (w *World) everyKeyedDevice(do func(*KeyedDevice) error) error {
	return inParallel(keyClients*keyDevices, setupInFlight, func(i int) error {
		return do(w.keyGroups[i/keyDevices].devices[i%keyDevices])
	})
}

// everyKeyGroup lets the clients do their shares of so many operations at once, each one after the other.
func (w *World) everyKeyGroup(operations int, do func(*keyGroup, int) error) error {
	return inParallel(keyClients, keyClients, func(c int) error {
		for i := c; i < operations; i += keyClients {
			if err := do(w.keyGroups[c], i); err != nil {
				return err
			}
		}
		return nil
	})
}

// publish uploads device keys and cross-signing keys.
func (d *KeyedDevice) publish() error {
	keys, err := d.Keys()
	if err != nil {
		return err
	}
	if err := d.JSON("POST", clientAPI+"/keys/upload", d.Token, object{"device_keys": keys}, nil); err != nil {
		return err
	}
	crossSigning, err := d.CrossSigningKeys()
	if err != nil {
		return err
	}
	return d.JSON("POST", clientAPI+"/keys/device_signing/upload", d.Token, crossSigning, nil)
}

// prepareUploads makes new devices and what they upload: their identity keys and their first one-time keys.
func prepareUploads(target *Target) error {
	users, err := makeAccounts(target, uploadsPerRun)
	if err != nil {
		return err
	}
	uploads := make([]upload, len(users))
	for i, user := range users {
		device, err := NewKeyedDevice(user)
		if err != nil {
			return err
		}
		keys, err := device.Keys()
		if err != nil {
			return err
		}
		first, err := device.OneTimeKeys(oneTimeKeys)
		if err != nil {
			return err
		}
		uploads[i].token = user.Token
		if uploads[i].body, err = json.Marshal(object{"device_keys": keys, "one_time_keys": first}); err != nil {
			return err
		}
	}
	target.world.uploads = uploads
	return nil
}

func runUploads(target *Target, watch *Stopwatch) error {
	world := target.world
	return world.everyKeyGroup(uploadsPerRun, func(group *keyGroup, i int) error {
		return watch.Time(func() error {
			_, err := group.client.Do("POST", clientAPI+"/keys/upload", world.uploads[i].token, world.uploads[i].body)
			return err
		})
	})
}

func runQueries(target *Target, watch *Stopwatch) error {
	return target.world.everyKeyGroup(queriesPerRun, func(group *keyGroup, _ int) error {
		return group.client.askTimed(watch, "/keys/query", group.query, "device_keys")
	})
}

// refillOneTimeKeys gives every device as many keys as will be claimed.
func refillOneTimeKeys(target *Target) error {
	return target.world.everyKeyedDevice(func(device *KeyedDevice) error {
		keys, err := device.OneTimeKeys(claimsPerRun / keyClients)
		if err != nil {
			return err
		}
		return device.JSON("POST", clientAPI+"/keys/upload", device.Token, object{"one_time_keys": keys}, nil)
	})
}

func runClaims(target *Target, watch *Stopwatch) error {
	return target.world.everyKeyGroup(claimsPerRun, func(group *keyGroup, _ int) error {
		return group.client.askTimed(watch, "/keys/claim", group.claim, "one_time_keys")
	})
}

// askTimed asks about all devices and checks that the named member of the answer has every one.
func (u *User) askTimed(watch *Stopwatch, path string, body []byte, member string) error {
	var answer []byte
	err := watch.Time(func() (err error) {
		answer, err = u.Do("POST", clientAPI+path, u.Token, body)
		return err
	})
	if err != nil {
		return err
	}
	var decoded map[string]map[string]map[string]json.RawMessage // what is named, user, device
	if err := json.Unmarshal(answer, &decoded); err != nil {
		return err
	}
	found := 0
	for _, devices := range decoded[member] {
		found += len(devices)
	}
	if found != keyDevices {
		return fmt.Errorf("%s has %d of %d devices", path, found, keyDevices)
	}
	return nil
}

func runToDevice(target *Target, watch *Stopwatch) error {
	return target.world.everyKeyGroup(toDevicePerRun, func(group *keyGroup, _ int) error {
		path := fmt.Sprintf("%s/sendToDevice/m.bench/%d", clientAPI, serial.Add(1))
		return watch.Time(func() error {
			_, err := group.client.Do("PUT", path, group.client.Token, group.message)
			return err
		})
	})
}

// receiveToDevice lets every device fetch its messages, which have to be all that were sent.
func receiveToDevice(target *Target) error {
	return target.world.everyKeyedDevice(func(device *KeyedDevice) error {
		for received := 0; received < toDevicePerRun/keyClients; {
			answer, err := device.Sync(0)
			if err != nil {
				return err
			}
			var decoded struct {
				ToDevice struct{ Events []json.RawMessage } `json:"to_device"`
			}
			if err := json.Unmarshal(answer, &decoded); err != nil {
				return err
			}
			if len(decoded.ToDevice.Events) == 0 {
				return fmt.Errorf("a device got %d of %d messages", received, toDevicePerRun/keyClients)
			}
			received += len(decoded.ToDevice.Events)
		}
		return nil
	})
}
