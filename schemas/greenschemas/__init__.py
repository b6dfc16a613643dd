"""greenschemas: the contract between greenprep and greentrain: store, manifest, recipe and errors."""
