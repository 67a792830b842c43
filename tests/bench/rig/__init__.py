"""What `./dev bench` is built of: processes on a core, servers under test, figures with spread."""
