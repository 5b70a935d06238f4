from .served_files import check_browser as check_browser
from .served_files import document_in as document_in
from .serving import address as address
from .serving import browser_link as browser_link
from .serving import page_address as page_address
from .serving import serve as serve
