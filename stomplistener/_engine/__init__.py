"""The running client: the paths of sent and received frames, and the threads. ``engine`` joins the parts."""
