"""Long work: started as a detached process, watched from files, cancelled with everything it started."""
