package main

import "github.com/spf13/cobra"

func newLayer(a *app) *cobra.Command {
	return group("layer", "Import, look at, export and roll back layers",
		newLayerImport(a), newLayerLs(a), newLayerShow(a), newLayerLog(a), newLayerDiff(a),
		newLayerExport(a), newLayerRm(a), newLayerRollback(a), newLayerMount(a))
}
