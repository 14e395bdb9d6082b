package main

const roomsAxis = "rooms of a user"

var roomSizes = []int{10, 50, 500, 5000}

var roomsMeasures = forSizes(roomsAxis, roomSizes, synapseRooms, func(size int) []Measure {
	user := func(target *Target) []*User { return []*User{target.world.byRooms[size]} }
	part := &Part{"a user in " + thousands(size) + " rooms", func(target *Target) error { return fillByRooms(target, size) }}
	return []Measure{{
		Name: "empty sync", part: part,
		prepare: func(target *Target) error { return catchUp(user(target)) },
		run:     func(target *Target, watch *Stopwatch) error { return syncInLoops(user(target), watch) },
	}}
})

// fillByRooms lets a user join all rooms that the users of smaller sizes have made, and make the others.
func fillByRooms(target *Target, size int) error {
	users, err := makeAccounts(target, 1)
	if err != nil {
		return err
	}
	world := target.world
	world.byRooms[size] = users[0]
	known := len(world.madeRooms)
	world.madeRooms = append(world.madeRooms, make([]string, max(size-known, 0))...)
	connections := make([]*User, setupInFlight)
	for i := range connections {
		same := *users[0]
		connections[i] = &same
		defer same.Close()
	}
	return shareOut(size, connections, func(user *User, i int) (err error) {
		if i < known {
			return user.Join(world.madeRooms[i])
		}
		world.madeRooms[i], err = user.CreateRoom()
		return err
	})
}
