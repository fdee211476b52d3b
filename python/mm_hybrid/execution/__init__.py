"""From approved quotes to orders at a venue, without losing one."""
