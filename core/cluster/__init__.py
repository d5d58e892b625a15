"""The Dask cluster: one that is started here, or one that is joined; calls that go to it, and what comes back."""
