"""The running client: one way out, one way in, and the threads; ``engine`` joins the parts."""
