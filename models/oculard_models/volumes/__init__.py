"""OCT volumes: their layers, maps and views. Pure, numpy and scipy only: daemon and laboratory share it."""
