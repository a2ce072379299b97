"""What joins rooms: measure, then record, then render; start a job, then read what it left.

Tools that take minutes start a job that runs this same command line in the foreground (`train now`, `bench ladder`,
`profile stages`), so a job, a terminal and a test all take one path.
"""
