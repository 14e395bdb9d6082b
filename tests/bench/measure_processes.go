package main

var sendersPart = messageMeasures[0].part

// Two processes of Chancery share a database as equals. Synapse shares it among workers of different kinds, which need
// Redis beside them and one of which writes all events; so it is measured as the one process that it is here.
var processMeasures = []Measure{
	{Name: "one room", part: sendersPart, run: runOneRoom},
	{Name: "one room by two processes", part: sendersPart, prepare: splitSenders, run: runOneRoom, finish: uniteSenders,
		except: "synapse"},
}

// runOneRoom lets all senders send into the same room.
func runOneRoom(target *Target, watch *Stopwatch) error {
	return sendTimes(target.world.senders, target.world.sendRooms[0], watch)
}

// splitSenders starts a second process and lets every other sender talk to it, who has sent something before it counts.
func splitSenders(target *Target) error {
	address, err := target.AddServer()
	if err != nil {
		return err
	}
	for i, sender := range target.world.senders {
		if i%2 == 1 {
			sender.MoveTo(address)
		}
		if _, err := sender.Send(target.world.sendRooms[0]); err != nil {
			return err
		}
	}
	return nil
}

func uniteSenders(target *Target) error {
	for _, sender := range target.world.senders {
		sender.MoveTo(target.Address)
	}
	target.StopServers(1)
	return nil
}
