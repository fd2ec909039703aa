"""The processes that train one trial together: started, told what to do, watched and ended by the first of them."""
