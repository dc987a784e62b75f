"""stub"""
def jobs(progress):
    return iter(())
