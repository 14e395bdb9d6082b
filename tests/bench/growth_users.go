package main

const (
	usersAxis    = "accounts on the server"
	whoamiPerRun = 200
)

var userSizes = []int{1000, 10_000, 100_000}

var usersMeasures = forSizes(usersAxis, userSizes, noLimit, func(size int) []Measure {
	part := &Part{thousands(size) + " accounts", func(target *Target) (err error) {
		if err := target.fill(sendersPart); err != nil {
			return err
		}
		target.world.accounts, err = makeAccounts(target, size)
		return err
	}}
	return []Measure{
		{Name: "first request of a session", part: part, run: runFirstRequests},
		{Name: "send", part: part, run: func(target *Target, watch *Stopwatch) error {
			return sendTimes(target.world.senders, target.world.sendRooms[0], watch)
		}},
	}
})

// runFirstRequests lets devices that the server has not seen since it started ask who they are.
func runFirstRequests(target *Target, watch *Stopwatch) error {
	world := target.world
	asking := world.accounts[len(world.accounts)-whoamiPerRun:]
	world.accounts = world.accounts[:len(world.accounts)-whoamiPerRun]
	return shareOut(len(asking), world.senders, func(sender *User, i int) error {
		return watch.Time(func() error {
			_, err := sender.Do("GET", clientAPI+"/account/whoami", asking[i].Token, nil)
			return err
		})
	})
}
