//! What cannot be provoked from outside: a full disk.
