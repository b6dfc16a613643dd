import time,os
t0=time.process_time(); 
