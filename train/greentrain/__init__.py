"""greentrain: streams a store into a VM-UNet, proves that it learns, draws maps."""
