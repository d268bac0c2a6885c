"""`python -m anysound`"""

from anysound import main

main()
