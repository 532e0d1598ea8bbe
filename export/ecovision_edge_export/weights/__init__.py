"""From a file or the hub to a network with its labels; knows no graph and no export."""
