"""The sections of a study file besides those of a trial, as typed settings. Imports no torch."""
