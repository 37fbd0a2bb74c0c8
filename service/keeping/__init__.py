"""What projects keep of their ended jobs, and the collector that lets the rest go."""
