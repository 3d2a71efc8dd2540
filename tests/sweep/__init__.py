"""The sweep: kills, power cuts, full disks and worse, against the real processes; judged by code that is not theirs."""
