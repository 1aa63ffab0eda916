"""What starts flows by itself, as a flow declares it: triggers, partitions, assets."""
