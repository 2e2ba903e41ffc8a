"""MLflow's search language: filters and orders, parsed and compiled to SQL over the catalog's tables."""
