"""Workers: the class that users subclass, a process that computes, and its host process."""
