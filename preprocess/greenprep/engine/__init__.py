"""Who does the work: processes of this machine that may die, or Dask."""
