package main

const (
	membersAxis  = "members of a room"
	joinsPerRun  = 20
	syncsPerRun  = 20
	crowdSenders = 8
)

var memberSizes = []int{200, 2000, 20_000}

// crowd is a room with many members.
type crowd struct {
	owner   *User
	room    string
	members []*User
	joiners []*User // who are not in it
	synced  int     // members who have synced, from the last one on
}

var crowdParts = map[int]*Part{}

// crowdPart is the room of so many members.
func crowdPart(size int) *Part {
	if crowdParts[size] == nil {
		crowdParts[size] = &Part{"a room of " + thousands(size) + " members", func(target *Target) error {
			return fillCrowd(target, size)
		}}
	}
	return crowdParts[size]
}

var membersMeasures = forSizes(membersAxis, memberSizes, synapseMembers, func(size int) []Measure {
	withCrowd := func(run func(*Target, *crowd, *Stopwatch) error) func(*Target, *Stopwatch) error {
		return func(target *Target, watch *Stopwatch) error { return run(target, target.world.crowds[size], watch) }
	}
	part := crowdPart(size)
	return []Measure{
		{Name: "join", part: part, run: withCrowd(runJoins), finish: func(target *Target) error {
			return leaveAll(target.world.crowds[size].joiners, target.world.crowds[size].room)
		}},
		{Name: "first sync", part: part, run: withCrowd(runCrowdSyncs)},
		{Name: "send", part: part, run: withCrowd(runCrowdSends)},
		{Name: "memory for the room", part: part, run: withCrowd(runCrowdMemory), inMiB: true, once: true,
			prepare: func(target *Target) error { return target.Restart() }},
	}
})

func fillCrowd(target *Target, size int) error {
	users, err := makeAccounts(target, size+joinsPerRun)
	if err != nil {
		return err
	}
	crowd := &crowd{owner: users[0], members: users[1:size], joiners: users[size:]}
	target.world.crowds[size] = crowd
	if crowd.room, err = crowd.owner.CreateRoom(); err != nil {
		return err
	}
	return joinAll(crowd.members, crowd.room)
}

func runJoins(_ *Target, crowd *crowd, watch *Stopwatch) error {
	return inParallel(joinsPerRun, setupInFlight, func(i int) error {
		return watch.Time(func() error { return crowd.joiners[i].Join(crowd.room) })
	})
}

func runCrowdSends(_ *Target, crowd *crowd, watch *Stopwatch) error {
	return sendTimes(crowd.members[:crowdSenders], crowd.room, watch)
}

// runCrowdSyncs lets members who have never synced do so.
func runCrowdSyncs(_ *Target, crowd *crowd, watch *Stopwatch) error {
	end := len(crowd.members) - crowd.synced
	crowd.synced += syncsPerRun
	return syncFirst(crowd.members[end-syncsPerRun:end], 1, watch)
}

// runCrowdMemory takes how much more memory a server has after it was started, when the room was used.
func runCrowdMemory(target *Target, crowd *crowd, watch *Stopwatch) error {
	use := func(user *User, room string) error {
		user.Since = ""
		if _, err := user.Sync(0); err != nil {
			return err
		}
		_, err := user.Send(room)
		target.WaitUntilIdle()
		return err
	}
	small, err := crowd.joiners[0].CreateRoom()
	if err != nil {
		return err
	}
	if err := use(crowd.joiners[0], small); err != nil {
		return err
	}
	before := target.ResidentMiB("VmRSS")
	if err := use(crowd.members[0], crowd.room); err != nil {
		return err
	}
	watch.MiB = target.ResidentMiB("VmRSS") - before
	return nil
}
