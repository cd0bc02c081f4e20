"""The config groups that the plugin puts at the end of the search path of every app."""
