"""The catalog: merged read model of all journals of a store, derived and rebuildable."""
