"""What is answered, one file for each kind of question: predict → events → model → console, and problems."""
