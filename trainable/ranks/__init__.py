"""One trial on several processes: rank 0 is the caller's, the others follow it. Their group is torch's default one."""
