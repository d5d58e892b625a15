"""What every stage shares: hands, cameras, configuration, the store, the engine and errors."""
