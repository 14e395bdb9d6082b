module chancery/bench

go 1.22
