"""Many series through one bundle: listed, claimed, segmented and recorded one by one, so that any of it may be killed."""
