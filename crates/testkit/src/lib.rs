//! Development only: a whole server in one process, actors, fresh databases, fakes.
