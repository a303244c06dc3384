package main

import "github.com/spf13/cobra"

func newStore(a *app) *cobra.Command {
	return group("store", "Look after the chunk store", newStoreStats(a), newStoreVerify(a), newStoreGC(a), newStoreEvict(a), newStoreBudget(a))
}
