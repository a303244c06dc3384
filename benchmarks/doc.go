// Package benchmarks measures Satchel's hot paths. Run them all with
//
//	make bench-go
//
// or one with
//
//	go test -run '^$' -bench BenchmarkPut -count 10 ./benchmarks
//
// and compare two states of the code with benchstat. Machines differ and are
// noisy: quote ratios from one run, not times. Nothing imports this package.
//
// Beside them lies what `make bench` runs, which sets Satchel beside its peers
// on real data: bench.sh, with corpus, peers, table.py and chart.py.
package benchmarks
