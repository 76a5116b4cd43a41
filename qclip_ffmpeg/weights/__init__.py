"""The bundled image tower and model; README.md beside this file says what each is and where it comes from."""
